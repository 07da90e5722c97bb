"""The switchboard in virtual time: what a policy would have done with a trace."""
