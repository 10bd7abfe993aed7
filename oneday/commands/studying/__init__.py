"""`oneday study`: reading a study, planning it, running it here."""
