"""The pure core: the switchboard, its facts, orders and news."""
