"""A policy in one file; docs/policies.md writes it, line by line."""

from llmux.policy import Decision, PolicyContext, Skip, SwitchNow, SwitchPolicy


class PatientPolicy(SwitchPolicy):
    """Stay while the active model is busy, but let nobody wait longer than `patience` seconds."""

    def __init__(self, patience: float = 20.0) -> None:
        self.patience = patience

    def on_pending_request(self, context: PolicyContext) -> Decision:
        waited = context.oldest_waiting
        if context.active_in_flight == 0:
            return SwitchNow(reason=f"{context.active_model or 'nobody'} has nothing to do")
        if waited >= self.patience:
            return SwitchNow(reason=f"{context.target_model} has waited {waited:.1f} s")
        return Skip(
            ask_again=self.patience - waited,
            reason=f"{context.active_model} is still answering {context.active_in_flight}",
        )
