#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tls.h"
#include "tests/cmocka_wrap.h"

/* Made here: a key, and a certificate that signs itself. */
struct pair {
	char *key, *certificate;
};

static struct pair ours, other;
static char *locked; /* our key under a password */

static char *
text_of(BIO *bio)
{
	char *data, *text;
	long len = BIO_get_mem_data(bio, &data);

	text = strndup(data, (size_t)len);
	BIO_free(bio);
	return text;
}

static void
make_pair(struct pair *pair, char **ret_locked)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *key_out = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_PrivateKey(key_out, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
	pair->key = text_of(key_out);
	pair->certificate = text_of(out);
	if (ret_locked != NULL) {
		static unsigned char password[] = "secret";

		out = BIO_new(BIO_s_mem());
		assert_int_equal(
		    PEM_write_bio_PrivateKey(out, key, EVP_aes_128_cbc(), password, 6, NULL, NULL),
		    1);
		*ret_locked = text_of(out);
	}
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static int
make_pairs(void **state)
{
	make_pair(&ours, &locked);
	make_pair(&other, NULL);
	return 0;
}

static int
drop_pairs(void **state)
{
	free(ours.key);
	free(ours.certificate);
	free(other.key);
	free(other.certificate);
	free(locked);
	return 0;
}

static void
what_belongs_together(void **state)
{
	struct error_text err = {""};
	char *chain = malloc(20000);

	assert_int_equal(tls_check(ours.certificate, ours.key, NULL, &err), 0);
	assert_int_equal(tls_check(ours.certificate, ours.key, other.certificate, &err), 0);
	snprintf(chain, 20000, "some words\n%s%s", ours.certificate, other.certificate);
	assert_int_equal(tls_check(chain, ours.key, NULL, &err), 0);
	assert_string_equal(err.text, "");
	free(chain);
}

static void
what_does_not(void **state)
{
	const struct {
		const char *certificate, *key, *ca, *named;
	} bad[] = {
	    {ours.certificate, other.key, NULL, "--tls-key"},
	    {ours.certificate, locked, NULL, "--tls-key"}, /* nobody is asked */
	    {ours.certificate, "", NULL, "--tls-key"},
	    {ours.certificate, ours.certificate, NULL, "--tls-key"},
	    {ours.key, ours.key, NULL, "--tls-cert"},
	    {"", ours.key, NULL, "--tls-cert"},
	    {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ours.key, NULL,
		"--tls-cert"},
	    {ours.certificate, ours.key, "", "--tls-client-ca"},
	    {ours.certificate, ours.key, ours.key, "--tls-client-ca"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error_text err = {""};

		if (tls_check(bad[i].certificate, bad[i].key, bad[i].ca, &err) != -EINVAL)
			fail_msg("case %zu was taken", i);
		if (strstr(err.text, bad[i].named) == NULL)
			fail_msg("case %zu: '%s' does not name %s", i, err.text, bad[i].named);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_belongs_together),
	    cmocka_unit_test(what_does_not),
	};

	return cmocka_run_group_tests(tests, make_pairs, drop_pairs);
}
