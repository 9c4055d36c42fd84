"""Long-term memory and personality; empty until its issue is done."""
