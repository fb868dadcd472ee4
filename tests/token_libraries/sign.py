"""Prints a line of JSON for each algorithm: its name, a token that PyJWT has signed, and the key to verify it with."""

import base64
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of PyJWT, longer than the longest hash: 0123456789abcdef0123456789abcdef"


def claims():
    now = int(time.time())
    return {"sub": "Jörg", "exp": now + 300, "nbf": now, "iat": now, "roles": ["member"], "team": {"a": [1, 2.5]}}


def line(algorithm, key, public):
    token = jwt.encode(claims(), key, algorithm=algorithm)
    encoded = base64.b64encode(public).decode()
    json.dump({"algorithm": algorithm, "token": token, "kind": "secret" if key is SECRET else "pem", "key": encoded}, sys.stdout)
    print()


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


for algorithm in ["HS256", "HS384", "HS512"]:
    line(algorithm, SECRET, SECRET.encode())
private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]:
    line(algorithm, private, pem(private))
for algorithm, private in [
    ("ES256", ec.generate_private_key(ec.SECP256R1())),
    ("ES384", ec.generate_private_key(ec.SECP384R1())),
    ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
]:
    line(algorithm, private, pem(private))
