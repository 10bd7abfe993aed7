"""Where the time of a budget goes: the ledger, its accounts, and the day that they make up."""
