#pragma once

#include <modelpool/error.hpp>

#include <boost/system/errc.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace modelpool {
namespace detail {

/// What is said of one error code.
struct code_words {
    const char* name;     ///< stable
    const char* message;  ///< for people
};

/// A category of codes that count up from 1, with the words for each.
template <std::size_t N>
class table_category final : public boost::system::error_category {
public:
    table_category(const char* name, const std::array<code_words, N>& words)
        : name_{name}
        , words_{words}
    {}

    const char* name() const noexcept override { return name_; }

    std::string message(int value) const override
    {
        const auto index = static_cast<std::size_t>(value) - 1;
        return index < N ? words_[index].message : "unknown error";
    }

    std::string_view code_name(int value) const noexcept
    {
        const auto index = static_cast<std::size_t>(value) - 1;
        return index < N ? words_[index].name : "unknown";
    }

    bool
    equivalent(int value, const boost::system::error_condition& wanted) const noexcept override;

private:
    const char* name_;
    std::array<code_words, N> words_;
};

class condition_names final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "modelpool.condition"; }
    std::string message(int value) const override
    {
        return value == static_cast<int>(condition::retryable) ? "may succeed later" : "bad input";
    }
};

MODELPOOL_DECL bool is_retryable(const boost::system::error_code& code) noexcept
{
    return code == errc::timed_out || code == pool_errc::queue_full ||
           code == pool_errc::memory_exhausted || code == pool_errc::circuit_open ||
           code == pool_errc::deadline_missed || code == pool_errc::worker_lost ||
           code == hub_errc::unavailable || code == model_errc::out_of_memory;
}

MODELPOOL_DECL bool is_bad_input(const boost::system::error_code& code) noexcept
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

MODELPOOL_DECL const table_category<4>& general_table() noexcept
{
    static const table_category<4> category{
        "modelpool",
        {{{"timed_out", "the deadline passed"},
          {"invalid_argument", "invalid argument"},
          {"unsupported", "not supported"},
          {"closed", "closed"}}}};
    return category;
}

MODELPOOL_DECL const table_category<9>& pool_table() noexcept
{
    static const table_category<9> category{
        "modelpool.pool",
        {{{"pool.queue_full", "the model's queue is full"},
          {"pool.shut_down", "shut down"},
          {"pool.memory_exhausted", "the memory budget is exhausted"},
          {"pool.unknown_model", "no such model in the pool"},
          {"pool.duplicate_model", "the model is in the pool already"},
          {"pool.load_failed", "the loader gave no model"},
          {"pool.circuit_open", "the model failed too often and rests"},
          {"pool.deadline_missed", "the request could not be served before its deadline"},
          {"pool.worker_lost", "the worker that held the request was retired"}}}};
    return category;
}

MODELPOOL_DECL const table_category<5>& registry_table() noexcept
{
    static const table_category<5> category{
        "modelpool.registry",
        {{{"registry.unknown_key", "no such model"},
          {"registry.duplicate_key", "the key is taken"},
          {"registry.wrong_capability", "the model has another capability"},
          {"registry.no_pool", "no pool for the capability"},
          {"registry.too_many", "too many revisions are in use"}}}};
    return category;
}

MODELPOOL_DECL const table_category<6>& hub_table() noexcept
{
    static const table_category<6> category{
        "modelpool.hub",
        {{{"hub.not_found", "not found"},
          {"hub.unavailable", "the source cannot be reached"},
          {"hub.denied", "access denied"},
          {"hub.corrupt", "corrupt bytes"},
          {"hub.io_failed", "file input or output failed"},
          {"hub.no_fetcher", "the runtime has no fetcher"}}}};
    return category;
}

MODELPOOL_DECL const table_category<10>& model_table() noexcept
{
    static const table_category<10> category{
        "modelpool.model",
        {{{"model.failed", "the model failed"},
          {"model.out_of_memory", "out of memory"},
          {"model.device_lost", "the device is lost"},
          {"model.bad_file", "bad file"},
          {"model.bad_config", "bad configuration"},
          {"model.missing_tensor", "missing tensor"},
          {"model.shape_mismatch", "shape mismatch"},
          {"model.dtype_mismatch", "data type mismatch"},
          {"model.unsupported", "not supported"},
          {"model.context_overflow", "the request exceeds the model's context"}}}};
    return category;
}

MODELPOOL_DECL const table_category<5>& text_table() noexcept
{
    static const table_category<5> category{
        "modelpool.text",
        {{{"text.not_utf8", "not valid UTF-8"},
          {"text.too_long", "too many tokens"},
          {"text.bad_file", "bad file"},
          {"text.unsupported", "not supported"},
          {"text.bad_id", "no such token id"}}}};
    return category;
}

}  // namespace detail

MODELPOOL_DECL const boost::system::error_category& general_category() noexcept
{
    return detail::general_table();
}

MODELPOOL_DECL const boost::system::error_category& pool_category() noexcept
{
    return detail::pool_table();
}

MODELPOOL_DECL const boost::system::error_category& registry_category() noexcept
{
    return detail::registry_table();
}

MODELPOOL_DECL const boost::system::error_category& hub_category() noexcept
{
    return detail::hub_table();
}

MODELPOOL_DECL const boost::system::error_category& model_category() noexcept
{
    return detail::model_table();
}

MODELPOOL_DECL const boost::system::error_category& text_category() noexcept
{
    return detail::text_table();
}

MODELPOOL_DECL const boost::system::error_category& condition_category() noexcept
{
    static const detail::condition_names category;
    return category;
}

MODELPOOL_DECL boost::system::error_code make_error_code(errc value) noexcept
{
    return {static_cast<int>(value), general_category()};
}

MODELPOOL_DECL boost::system::error_code make_error_code(pool_errc value) noexcept
{
    return {static_cast<int>(value), pool_category()};
}

MODELPOOL_DECL boost::system::error_code make_error_code(registry_errc value) noexcept
{
    return {static_cast<int>(value), registry_category()};
}

MODELPOOL_DECL boost::system::error_code make_error_code(hub_errc value) noexcept
{
    return {static_cast<int>(value), hub_category()};
}

MODELPOOL_DECL boost::system::error_code make_error_code(model_errc value) noexcept
{
    return {static_cast<int>(value), model_category()};
}

MODELPOOL_DECL boost::system::error_code make_error_code(text_errc value) noexcept
{
    return {static_cast<int>(value), text_category()};
}

MODELPOOL_DECL boost::system::error_condition make_error_condition(condition value) noexcept
{
    return {static_cast<int>(value), condition_category()};
}

MODELPOOL_DECL std::string_view code_name(const boost::system::error_code& code) noexcept
{
    // Asio's operation_aborted is the system's ECANCELED; its header would be too heavy here.
    const boost::system::error_category& category = code.category();
    const int value = code.value();
    if (code == boost::system::errc::operation_canceled) return "cancelled";
    if (category == general_category()) return detail::general_table().code_name(value);
    if (category == pool_category()) return detail::pool_table().code_name(value);
    if (category == registry_category()) return detail::registry_table().code_name(value);
    if (category == hub_category()) return detail::hub_table().code_name(value);
    if (category == model_category()) return detail::model_table().code_name(value);
    if (category == text_category()) return detail::text_table().code_name(value);
    return "system";
}

MODELPOOL_DECL error::error(boost::system::error_code code)
    : system_error{code}
    , text_{code.message()}
{}

MODELPOOL_DECL error::error(boost::system::error_code code, std::string sentence)
    : system_error{code}
    , text_{std::move(sentence)}
{}

MODELPOOL_DECL error error::in(std::string_view context) const
{
    return error{code(), std::string{context} + ": " + text_};
}

}  // namespace modelpool
