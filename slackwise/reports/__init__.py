"""The paper: tables first, then one HTML file."""
