"""Policies that were learned: what an actor observes, its weights, and the policy it becomes."""
