"""Risk of accounts and banks: few-shot profiles, payment networks, clearing, contagion, settlement."""
