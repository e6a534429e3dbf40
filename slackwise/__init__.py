"""slackwise tunes how multimodal LLM services are scheduled: traces, policies, a simulator, a search."""

__version__ = "0.1.0"
