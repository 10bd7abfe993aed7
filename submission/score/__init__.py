"""The challenge's score: tables of results -> win rates -> one number."""
