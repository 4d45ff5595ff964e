/*
 * Is this TLS material good for anything?  gRPC says no without a word.
 *
 * Gateway, once at start.  Checks that the certificate and key are PEM and belong together, and
 * that the client CA, if any, is a certificate.  -EINVAL, words in err.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include "base/error_text.h"

int tls_check(const char *cert, const char *key, const char *client_ca, struct error_text *err);

#endif
