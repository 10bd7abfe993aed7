"""Time and memory: the clock, the ledger, the plan, the learning rate, what a card can do, the rehearsal."""
