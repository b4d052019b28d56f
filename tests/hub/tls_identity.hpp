#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace modelpool::testing {

/// A key and a certificate for 127.0.0.1 that vouches for itself, made on the spot.
class tls_identity {
public:
    tls_identity()
        : key_{EVP_EC_gen("P-256"), &EVP_PKEY_free}
        , certificate_{X509_new(), &X509_free}
        , context_{SSL_CTX_new(TLS_server_method()), &SSL_CTX_free}
    {
        X509* const one = certificate_.get();
        X509_set_version(one, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(one), 1);
        X509_gmtime_adj(X509_getm_notBefore(one), -3600);
        X509_gmtime_adj(X509_getm_notAfter(one), 3600);
        X509_set_pubkey(one, key_.get());
        X509_NAME* const name = X509_get_subject_name(one);
        const std::string text = "a test";
        X509_NAME_add_entry_by_txt(
            name,
            "CN",
            MBSTRING_ASC,
            reinterpret_cast<const unsigned char*>(text.data()),
            static_cast<int>(text.size()),
            -1,
            0);
        X509_set_issuer_name(one, name);
        extend(NID_subject_alt_name, "IP:127.0.0.1");
        extend(NID_basic_constraints, "critical,CA:TRUE");
        if (X509_sign(one, key_.get(), EVP_sha256()) == 0 ||
            SSL_CTX_use_certificate(context_.get(), one) != 1 ||
            SSL_CTX_use_PrivateKey(context_.get(), key_.get()) != 1)
            throw std::runtime_error{"no certificate could be made"};
    }

    SSL_CTX* context() const noexcept { return context_.get(); }

    /// The certificate, for those who are to trust it.
    std::string pem() const
    {
        const std::unique_ptr<BIO, decltype(&BIO_free)> out{BIO_new(BIO_s_mem()), &BIO_free};
        PEM_write_bio_X509(out.get(), certificate_.get());
        char* bytes = nullptr;
        const long n_bytes = BIO_get_mem_data(out.get(), &bytes);
        return {bytes, static_cast<std::size_t>(n_bytes)};
    }

private:
    void extend(int which, const char* value)
    {
        X509V3_CTX context;
        X509V3_set_ctx(&context, certificate_.get(), certificate_.get(), nullptr, nullptr, 0);
        X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, which, value);
        X509_add_ext(certificate_.get(), extension, -1);
        X509_EXTENSION_free(extension);
    }

    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
    std::unique_ptr<X509, decltype(&X509_free)> certificate_;
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
};

}  // namespace modelpool::testing
