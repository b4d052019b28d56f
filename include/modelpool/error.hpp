#pragma once

#include <modelpool/config.hpp>

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace modelpool {

/// Errors that belong to no single part. A cancelled operation is not among them: it always fails
/// with `boost::asio::error::operation_aborted`.
enum class errc {
    timed_out = 1,     ///< a deadline passed before the operation ended
    invalid_argument,  ///< an argument is outside what the function accepts
    unsupported,       ///< the request is well formed, but this build or model cannot do it
    closed,            ///< the object was closed while, or before, the operation waited on it
};

/// Errors of pools, workers and the memory budget.
enum class pool_errc {
    queue_full = 1,    ///< the model's queue holds as many requests as it may
    shut_down,         ///< the pool, group or runtime was shut down, or no longer exists
    memory_exhausted,  ///< the memory budget has no room, even with every idle worker evicted
    unknown_model,     ///< the pool has no group of that key
    duplicate_model,   ///< a group of that key exists already, with another loader
    load_failed,       ///< a loader returned no model
    circuit_open,      ///< too many failures in a row: the model rests before it is tried again
    deadline_missed,   ///< the request was dropped because it could not be served in time
    worker_lost,       ///< the worker that held the request was retired
};

/// Errors of the registry.
enum class registry_errc {
    unknown_key = 1,   ///< no entry has that key or alias
    duplicate_key,     ///< the key or alias is taken, in this or another capability
    wrong_capability,  ///< the key names a model of another capability
    no_pool,           ///< no pool was given for the capability
    too_many,          ///< as many revisions as the registry keeps are in use
};

/// Errors of fetchers.
enum class hub_errc {
    not_found = 1,  ///< no such repository, revision or file
    unavailable,    ///< the source cannot be reached now; trying again may help
    denied,         ///< the source refuses access: a token or an accepted licence is needed
    corrupt,        ///< bytes differ from the promised size or hash
    io_failed,      ///< the local file system refused a read or a write
    no_fetcher,     ///< the runtime was built without a fetcher
};

/// Errors of models and their files.
enum class model_errc {
    failed = 1,        ///< a forward pass failed
    out_of_memory,     ///< a forward pass could not allocate
    device_lost,       ///< the device stopped working; nothing runs there until it is reset
    bad_file,          ///< a file of the checkpoint is missing, truncated or malformed
    bad_config,        ///< a configuration field is missing, of the wrong type or out of range
    missing_tensor,    ///< the checkpoint lacks a tensor that the architecture needs
    shape_mismatch,    ///< a tensor's shape differs from what the configuration asks for
    dtype_mismatch,    ///< a tensor's data type is not one the architecture can use
    unsupported,       ///< the architecture, or a feature the checkpoint asks for, is not supported
    context_overflow,  ///< the request does not fit the model's context
};

/// Errors of tokenizers, templates and text input.
enum class text_errc {
    not_utf8 = 1,  ///< the text is not valid UTF-8
    too_long,      ///< the text has more tokens than the limit, and truncation is off
    bad_file,      ///< a tokenizer or template file is malformed
    unsupported,   ///< a tokenizer component, or a template feature, is not supported
    bad_id,        ///< a token id lies outside the vocabulary
};

/// What several codes of different enums have in common: `if (code == condition::retryable)`.
enum class condition {
    retryable = 1,  ///< the same request may succeed later, unchanged
    bad_input,      ///< the request or its files are at fault: trying again gives the same error
};

const boost::system::error_category& general_category() noexcept;
const boost::system::error_category& pool_category() noexcept;
const boost::system::error_category& registry_category() noexcept;
const boost::system::error_category& hub_category() noexcept;
const boost::system::error_category& model_category() noexcept;
const boost::system::error_category& text_category() noexcept;
const boost::system::error_category& condition_category() noexcept;

boost::system::error_code make_error_code(errc value) noexcept;
boost::system::error_code make_error_code(pool_errc value) noexcept;
boost::system::error_code make_error_code(registry_errc value) noexcept;
boost::system::error_code make_error_code(hub_errc value) noexcept;
boost::system::error_code make_error_code(model_errc value) noexcept;
boost::system::error_code make_error_code(text_errc value) noexcept;
boost::system::error_condition make_error_condition(condition value) noexcept;

/// The stable name of a code, for logs, metrics and scripts: "model.missing_tensor",
/// "pool.queue_full", "invalid_argument"; "cancelled" for operation_aborted, "system" for codes
/// that are not the library's.
std::string_view code_name(const boost::system::error_code& code) noexcept;

/// What every public function of the library throws: an error code, and a sentence that says what
/// was being done, with what was expected and what was found.
///
/// `what()` is "<context>: <sentence>", or the code's own message where no sentence was given.
/// Copying never throws away the code. Exceptions of a user's own loader, and `std::bad_alloc`,
/// pass through the library unchanged and are not of this type.
class error : public boost::system::system_error {
public:
    /// An error whose text is the message of `code`.
    explicit error(boost::system::error_code code);
    /// An error whose text is `sentence`, which should name the file, the key, the expected and the
    /// found.
    error(boost::system::error_code code, std::string sentence);

    const char* what() const noexcept override { return text_.c_str(); }

    /// The same error, with `context` (a model's key, a worker, a file) put before its text.
    [[nodiscard]] error in(std::string_view context) const;

private:
    std::string text_;
};

}  // namespace modelpool

template <>
struct boost::system::is_error_code_enum<modelpool::errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<modelpool::pool_errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<modelpool::registry_errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<modelpool::hub_errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<modelpool::model_errc> : std::true_type {};
template <>
struct boost::system::is_error_code_enum<modelpool::text_errc> : std::true_type {};
template <>
struct boost::system::is_error_condition_enum<modelpool::condition> : std::true_type {};

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/impl/error.hpp>
#endif
