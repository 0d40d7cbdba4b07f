"""Fault tests: a real cluster is disturbed at random while an account of every record is kept.

texts     distinct texts of the sample's words
versions  the bundles that a run promotes, and the texts on which all of them agree
malformed records that must become dead letters, of every reason there is
cluster   the brokers and the topics, and what is in them
stream    the steady stream of records, and what is to become of each
group     the workers, under an orchestrator that starts anew whoever ends
faults    what is done to them, and when
traces    what each fault must leave in the workers' logs or metrics
oracle    holds what came out against what had to
report    what a run did, and the verdict, for people and as JSON
run       one run, from the brokers' start to the verdict
recovery  how long it takes from a kill until work goes on
soak      whether a worker's memory grows

The oracle fails a run unless

- each relevant tweet has one alert and each malformed record one dead letter, as they should be,
- a record that a fault took out of the topic is triaged once if it had been read, and otherwise
  never; it may go either way only if the topic was deleted while it was being read,
- each fault has left a line in a worker's log or changed a metric, unless it was too short to delay
  anything,
- the group has committed the end of each partition, no transaction is open, and each worker's
  counts add up,
- each process ended as it should.

Four runs of 30 minutes on 2 shared cores (2026-12-01, seeds 31, 32, 35 and 37) did 1,270 faults, of
which 82 created the input topic again, 83 deleted records, 82 cut off the end of a log, and 82 left
a transaction open. 772,036 records were sent, and none was published twice. All runs but the second
kept every promise. In the second, a member that had lost three partitions kept them from the
others, so that nobody read them, and a worker that started ended because brokers stopped. Both were
mended, and the last two runs were made after that. Two more runs, side by side, overloaded the
machine, and were not finished.

One fault stays: a worker whose name was taken may drive out the other one if Kafka forgets both,
as when all brokers die or answer later than the session lasts.
"""
