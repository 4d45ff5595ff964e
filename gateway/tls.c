#include "gateway/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static X509 *
certificate_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return certificate;
}

/* An encrypted key has nobody to ask for its password. */
static int
no_password(char *buffer, int size, int writing, void *arg)
{
	return 0;
}

static EVP_PKEY *
key_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);

	BIO_free(bio);
	return key;
}

static int
pair_check(X509 *certificate, EVP_PKEY *key, struct error_text *err)
{
	if (certificate == NULL)
		return error_set(err, -EINVAL, "--tls-cert: there is no PEM certificate in it");
	if (key == NULL)
		return error_set(err, -EINVAL,
		    "--tls-key: there is no PEM private key without a password in it");
	if (X509_check_private_key(certificate, key) != 1)
		return error_set(err, -EINVAL,
		    "--tls-key: is not the private key of the certificate in --tls-cert");
	return 0;
}

int
tls_check(const char *cert, const char *key, const char *client_ca, struct error_text *err)
{
	X509 *certificate = certificate_read(cert), *ca = NULL;
	EVP_PKEY *private_key = key_read(key);
	int rc = pair_check(certificate, private_key, err);

	if (rc == 0 && client_ca != NULL) {
		ca = certificate_read(client_ca);
		if (ca == NULL)
			rc = error_set(
			    err, -EINVAL, "--tls-client-ca: there is no PEM certificate in it");
	}
	X509_free(ca);
	X509_free(certificate);
	EVP_PKEY_free(private_key);
	ERR_clear_error();
	return rc;
}
