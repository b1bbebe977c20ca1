"""The page: widgets, what they ask for, and what they show. No HTTP, no SQL."""
