"""What the examples of services print."""

from __future__ import annotations

__all__ = ["ENDED_BY_SIGNAL", "PRINTED", "RUNNING"]

PRINTED = {
    "producer_consumer": """\
jobs done: at least 5
mean: 3.0 of nothing: 0
""",
    "load_balancer": """\
before: NO_WORKERS
three workers: [10, 10, 10]
one joined: [10, 10, 10, 10]
two drained: [20, 20]
cpu_intensive: 500500 by way of LoadBalancerAgent
io_intensive: 100 characters written by way of LoadBalancerAgent
memory_intensive: 100000 by way of LoadBalancerAgent
refused: WORKER_ERROR INVALID_OPERATION
requests of 4 workers: 114
""",
    "document_pipeline": """\
praise is positive: I love it (2 sentences)
complaint is negative: The search is slow (3 sentences)
note is neutral: The search has moved (2 sentences)
traces: 1
report
  extract
  sentiment
  summary
services: 5
services: 4
reports: 21
""",
    "math_pipeline": """\
calc-1 square 49
calc-1 double 14
calc-1 increment 8
calc-1 total 71
square was asked 1
double was asked 1
increment was asked 1
aggregator was asked 1
refused: VALIDATION_ERROR number must be a number, not 'seven'
""",
    "workflow": """\
order-1 6 pieces for 3.50
coordinator was asked 1
processor was asked 1
validator was asked 1
reporter was asked 1
order-2 refused by processor: no price for plum
order-3 refused by validator: 375.00 is above the limit of 100
""",
    "health_checks": """\
{'checked': 3, 'failed': []}
orders: Disconnected
WARNING: orders: no connection
{'checked': 3, 'failed': ['orders']}
""",
    "handling_failures": """\
well
  apple: 0.50, as of now
  phoenix: UNKNOWN_ARTICLE: there is no phoenix
slow
  apple: 0.50, as of the last time (TIMEOUT)
broken
  apple: 0.50, as of the last time (EXECUTION_ERROR)
  apple: 0.50, as of the last time (EXECUTION_ERROR)
  apple: 0.50, as of the last time (CIRCUIT_OPEN)
well again
  apple: 0.50, as of the last time (CIRCUIT_OPEN)
  apple: 0.50, as of now
gone
  apple: 0.50, as of the last time (NOT_FOUND)
""",
    "control_actions": """\
Hello, Ada!
Configuration updated
Hi, Ada!
VALIDATION_ERROR - config on_config refused it: ValueError: greeting must not be empty
INVALID_ACTION - no control action 'dance': there are pause, resume, status, update_config, shutdown, drain, health, reset
Paused
paused {'greeting': 'Hi', 'api_key': '***'}
Resumed
['Hi, Bob!', 'Hi, Eve!']
{'greeted': 4}
Draining
""",
    "thread_pools": """\
cpu: 500000500000
20 that wait: Counter({'read': 20})
threads: {'cpu': 1, 'io': 20}
8 that count: Counter({500000500000: 5, 'POOL_FULL': 3})
too slow: TIMEOUT
wrong: EXECUTION_ERROR
""",
    "memory_aware": """\
0 numbers: {'mean': 0, 'chunks': 0}
5 numbers: {'mean': 2.0, 'chunks': 0}
10000 numbers: {'mean': 4999.5, 'chunks': 0}
10001 numbers: {'mean': 5000.0, 'chunks': 11}
""",
    "schemas": """\
{'pieces': 3}
VALIDATION_ERROR
  customer: missing
  items[0].count: must be integer, not string
""",
    "over_http": """\
found: translator ('translation', 'german')
answer: {'translation': 'fish'}
refused: NOT_FOUND no translation of Vogel
a reader may not control: UNAUTHORIZED
""",
}
RUNNING = "running; Ctrl-C ends all\n"
ENDED_BY_SIGNAL = {
    "database_cache_logging": """\
started: DatabaseAgent CacheAgent LoggingAgent
database: stored {'name': 'Ada'}
cache: Ada None
logged: 20
refused: INVALID_OPERATION Unknown operation: shuffle
running; Ctrl-C ends all
left: 0
""",
    "process_manager": """\
started: workeragent_0 workeragent_1 workeragent_2 loadbalanceragent_0 loggingagent_0
asked: workeragent_0 workeragent_1 workeragent_2
workeragent_1 died (exit code -9) and is back, in another process: True
workeragent_1 answers: Processed: again
running; Ctrl-C ends all
left: 0
""",
}
