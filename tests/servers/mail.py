#!/usr/bin/python3
"""A server of e-mail for tests: takes mail from who knows the password, and keeps each as a line of JSON in a file, until its
standard input ends. It offers STARTTLS. Arguments: its port, the password, a certificate and its key.
"""

import json
import shutil
import ssl
import sys
import tempfile

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, password, certificate, key = sys.argv[1:]
folder = tempfile.mkdtemp(prefix="lifeboat-mail-")


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "mail": envelope.content.decode(),
            "encrypted": session.ssl is not None,
        }
        with open(f"{folder}/mails", "a") as mails:
            mails.write(json.dumps(mail) + "\n")
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (b"ada", password.encode())
    # Some servers repeat what they were told.
    return AuthResult(success=right, handled=False, message=None if right else f"535 5.7.8 not {data.password.decode()}")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
controller = Controller(
    Handler(),
    hostname="127.0.0.1",
    port=int(port),
    authenticator=login,
    auth_required=True,
    auth_require_tls=False,
    tls_context=context,
)
controller.start()
print("ready", f"{folder}/mails", flush=True)
sys.stdin.read()
controller.stop()
shutil.rmtree(folder)
