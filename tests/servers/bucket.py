"""Makes a bucket on a test server: bucket.py ENDPOINT ACCESS_KEY SECRET_KEY NAME. Waits until the server answers."""

import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

LIMIT_SECONDS = 60
MADE_BEFORE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make(client, name):
    try:
        client.create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MADE_BEFORE:
            raise
    # SeaweedFS answers before its first volume can be written; an object that is taken proves that it can.
    client.put_object(Bucket=name, Key="probe", Body=b"probe")
    client.delete_object(Bucket=name, Key="probe")


def main():
    endpoint, access_key, secret_key, name = sys.argv[1:]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10, s3={"addressing_style": "path"}),
    )
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            return make(client, name)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"{endpoint} did not make the bucket {name} within {LIMIT_SECONDS} s: {error}")
            time.sleep(0.2)


main()
