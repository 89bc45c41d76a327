"""The methods that the harness can score, one module and one card each."""
