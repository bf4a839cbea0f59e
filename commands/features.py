"""`taskgraft features load`: a log's users, as of its end, into the service's feature store.

config, log --prepare--> profiles --UserRecord--> FeatureStore.load
"""
