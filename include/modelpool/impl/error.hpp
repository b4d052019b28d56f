#pragma once

#include <modelpool/error.hpp>

#include <array>
#include <cstddef>

namespace modelpool {
namespace detail {

/// A category whose messages are a table that starts at value 1.
template <std::size_t N>
class table_category final : public boost::system::error_category {
public:
    table_category(const char* name, const std::array<const char*, N>& messages)
        : name_{name}
        , messages_{messages}
    {}

    const char* name() const noexcept override { return name_; }

    std::string message(int value) const override
    {
        const auto index = static_cast<std::size_t>(value) - 1;
        return index < N ? messages_[index] : "unknown error";
    }

    bool
    equivalent(int value, const boost::system::error_condition& wanted) const noexcept override;

private:
    const char* name_;
    std::array<const char*, N> messages_;
};

class condition_names final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "modelpool.condition"; }
    std::string message(int value) const override
    {
        return value == static_cast<int>(condition::retryable) ? "may succeed later" : "bad input";
    }
};

inline bool is_retryable(const boost::system::error_code& code) noexcept
{
    return code == errc::timed_out || code == pool_errc::queue_full ||
           code == pool_errc::memory_exhausted || code == pool_errc::circuit_open ||
           code == pool_errc::deadline_missed || code == pool_errc::worker_lost ||
           code == hub_errc::unavailable || code == model_errc::out_of_memory;
}

inline bool is_bad_input(const boost::system::error_code& code) noexcept
{
    if (code.category() == text_category()) return true;
    if (code.category() == model_category())
        return code != model_errc::failed && code != model_errc::out_of_memory &&
               code != model_errc::device_lost;
    return code == errc::invalid_argument || code == errc::unsupported ||
           code == pool_errc::unknown_model || code.category() == registry_category() ||
           code == hub_errc::not_found;
}

template <std::size_t N>
bool table_category<N>::equivalent(
    int value, const boost::system::error_condition& wanted) const noexcept
{
    const boost::system::error_code code{value, *this};
    if (wanted.category() != condition_category()) return default_error_condition(value) == wanted;
    return wanted.value() == static_cast<int>(condition::retryable) ? is_retryable(code)
                                                                    : is_bad_input(code);
}

}  // namespace detail

inline const boost::system::error_category& general_category() noexcept
{
    static const detail::table_category<4> category{
        "modelpool", {"the deadline passed", "invalid argument", "not supported", "closed"}};
    return category;
}

inline const boost::system::error_category& pool_category() noexcept
{
    static const detail::table_category<9> category{
        "modelpool.pool",
        {"the model's queue is full",
         "shut down",
         "the memory budget is exhausted",
         "no such model in the pool",
         "the model is in the pool already",
         "the loader gave no model",
         "the model failed too often and rests",
         "the request could not be served before its deadline",
         "the worker that held the request was retired"}};
    return category;
}

inline const boost::system::error_category& registry_category() noexcept
{
    static const detail::table_category<4> category{
        "modelpool.registry",
        {"no such model",
         "the key is taken",
         "the model has another capability",
         "no pool for the capability"}};
    return category;
}

inline const boost::system::error_category& hub_category() noexcept
{
    static const detail::table_category<6> category{
        "modelpool.hub",
        {"not found",
         "the source cannot be reached",
         "access denied",
         "corrupt bytes",
         "file input or output failed",
         "the runtime has no fetcher"}};
    return category;
}

inline const boost::system::error_category& model_category() noexcept
{
    static const detail::table_category<10> category{
        "modelpool.model",
        {"the model failed",
         "out of memory",
         "the device is lost",
         "bad file",
         "bad configuration",
         "missing tensor",
         "shape mismatch",
         "data type mismatch",
         "not supported",
         "the request exceeds the model's context"}};
    return category;
}

inline const boost::system::error_category& text_category() noexcept
{
    static const detail::table_category<5> category{
        "modelpool.text",
        {"not valid UTF-8", "too many tokens", "bad file", "not supported", "no such token id"}};
    return category;
}

inline const boost::system::error_category& condition_category() noexcept
{
    static const detail::condition_names category;
    return category;
}

inline boost::system::error_code make_error_code(errc value) noexcept
{
    return {static_cast<int>(value), general_category()};
}

inline boost::system::error_code make_error_code(pool_errc value) noexcept
{
    return {static_cast<int>(value), pool_category()};
}

inline boost::system::error_code make_error_code(registry_errc value) noexcept
{
    return {static_cast<int>(value), registry_category()};
}

inline boost::system::error_code make_error_code(hub_errc value) noexcept
{
    return {static_cast<int>(value), hub_category()};
}

inline boost::system::error_code make_error_code(model_errc value) noexcept
{
    return {static_cast<int>(value), model_category()};
}

inline boost::system::error_code make_error_code(text_errc value) noexcept
{
    return {static_cast<int>(value), text_category()};
}

inline boost::system::error_condition make_error_condition(condition value) noexcept
{
    return {static_cast<int>(value), condition_category()};
}

inline error::error(boost::system::error_code code)
    : system_error{code}
    , text_{code.message()}
{}

inline error::error(boost::system::error_code code, std::string sentence)
    : system_error{code}
    , text_{std::move(sentence)}
{}

inline error error::in(std::string_view context) const
{
    return error{code(), std::string{context} + ": " + text_};
}

}  // namespace modelpool
