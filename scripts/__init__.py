"""Commands of this checkout: set up, test, boot a guest; not part of the product."""
