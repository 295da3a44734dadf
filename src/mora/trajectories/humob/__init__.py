"""The HuMob challenge: its files, its metrics and the baselines to beat."""
