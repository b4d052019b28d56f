#include "hub/digest.hpp"

#include <modelpool/assert.hpp>

#include <array>
#include <new>
#include <utility>

#include "hub/path_rules.hpp"

#include <openssl/evp.h>

namespace modelpool::fetching {

struct digest::state {
    explicit state(const EVP_MD* kind)
        : context{EVP_MD_CTX_new()}
    {
        if (context == nullptr) throw std::bad_alloc{};
        const bool ready = EVP_DigestInit_ex(context, kind, nullptr) == 1;
        MODELPOOL_ASSERT(ready);
    }
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    state(state&&) = delete;
    state& operator=(state&&) = delete;
    ~state() { EVP_MD_CTX_free(context); }

    EVP_MD_CTX* context;
};

digest::digest(std::unique_ptr<state> fresh)
    : state_{std::move(fresh)}
{}
digest::digest(digest&&) noexcept = default;
digest& digest::operator=(digest&&) noexcept = default;
digest::~digest() = default;

digest digest::sha256()
{
    return digest{std::make_unique<state>(EVP_sha256())};
}

digest digest::git_blob(std::uint64_t n_bytes)
{
    digest result{std::make_unique<state>(EVP_sha1())};
    const std::string head = "blob " + std::to_string(n_bytes) + '\0';
    result.update(head);
    return result;
}

std::optional<digest> digest::for_blob(std::string_view name, std::uint64_t n_bytes)
{
    if (is_sha256(name)) return sha256();
    if (is_commit(name)) return git_blob(n_bytes);
    return std::nullopt;
}

void digest::update(std::span<const char> bytes)
{
    const bool taken = EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1;
    MODELPOOL_ASSERT(taken);
}

std::string digest::finish()
{
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
    unsigned n_bytes = 0;
    const bool done = EVP_DigestFinal_ex(state_->context, bytes.data(), &n_bytes) == 1;
    MODELPOOL_ASSERT(done);
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < n_bytes; ++i) {
        text += digits[bytes[i] >> 4U];
        text += digits[bytes[i] & 15U];
    }
    return text;
}

}  // namespace modelpool::fetching
