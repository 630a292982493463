"""Models as flat lists of layer calls, and the executor that runs them."""
