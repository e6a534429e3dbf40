"""Tests of the adapters. Those of the plug-in inside vLLM need it: make test-vllm."""
