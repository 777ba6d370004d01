"""moto, whose queues tell of their redrive policy as AWS does: JSON without spaces.

Terraform compares that text as it is, and would plan a change of each queue at each time.

    moto_as_aws.py -H HOST -p PORT
"""

import functools
import json
import types

import moto.sqs.models
from moto.server import main

moto.sqs.models.json = types.SimpleNamespace(**vars(json))
moto.sqs.models.json.dumps = functools.partial(json.dumps, separators=(",", ":"))

if __name__ == "__main__":
    main()
