"""Kafka: the only package that uses kafka-python.

records         what is read and published
source          a member of the consumer group: batches of records
sink            publishes a batch's messages and commits its offsets, in one transaction
publisher       publishes messages outside the group
follow          reads a topic outside the group, live or once
reader          reads topics outside the group from given offsets topics          checks and creates
topics connection      makes clients by the settings, and turns kafka-python's errors into ours
security        options for TLS and SASL, and the meaning of a broker's refusal tokens
bearer tokens for SASL/OAUTHBEARER record_batches  writes messages as record batches, faster than
kafka-python unpack          bounds the memory that compressed batches may take workarounds     for
faults of kafka-python, one function each
"""
