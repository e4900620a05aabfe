"""Jobs on Ray: the only package that knows Ray's API.

Ray places, starts and supervises the processes of a job and reports their deaths. What runs where:

file                  in the control plane's process     in the job's processes
cluster.py            the cluster, and its nodes
spares.py             started processes without a job
seats.py              CPUs that a job holds
running_job.py        one attempt, followed
keeper.py             what outlives a control plane
silence.py            which attempts have died
process.py                                               one process: a gradient worker or a coordinator
crew.py                                                  the processes that the coordinator computes with
calls.py                                                 plain Ray calls as a transport
results.py            what a call came to                the same

`ray_cluster` in `workers/ray_environment.py` is the way in; Ray must not be imported before it has been called.
"""
