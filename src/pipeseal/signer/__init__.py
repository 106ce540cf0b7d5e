"""The signer: the one process that holds the signing key, and signs nothing but what a verified commit says."""
