"""Kafka: the one folder that knows kafka-python.

records        what is read and published
tokens         bearer tokens for SASL/OAUTHBEARER
security       what the settings mean to kafka-python, and what a broker's refusal means
connection     new clients by the settings, and kafka-python's errors turned into ours
topics         look for the topics, create them
unpack         bounds what compressed batches take of memory
record_batches record batches → records, and messages → record batches
unreadable     what stands for records that cannot be unpacked
mends          faults of kafka-python's consumer, mended from outside
transactions   the protocol of transactions that kafka-python does not speak
sender         does a producer's network work in the thread that waits for it
producer       kafka-python's with this sender; takes messages, commits them with offsets
source         a member of the consumer group; gives batches of records
sink           publishes a batch's messages together with its offsets, in one transaction
publisher      publishes messages outside the group, in transactions if told so
follow         all committed records of a topic, as they come or once
"""
