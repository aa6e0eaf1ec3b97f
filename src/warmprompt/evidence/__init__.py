"""The evidence: every accuracy table and plot, built cell by cell from a plan, and rebuilt by one command."""
