"""The winner on Ray Serve: routing and provisioning of pools, and the files that other platforms need."""
