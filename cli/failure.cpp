#include "failure.hpp"

#include <modelpool/error.hpp>

#include <boost/asio/error.hpp>

#include <new>
#include <system_error>

#include "text_format.hpp"

namespace modelpool::cli {
namespace {

// Switches without a default, so that the compiler points here when an enum grows.

const char* name_of(errc value)
{
    switch (value) {
    case errc::timed_out:
        return "timed_out";
    case errc::invalid_argument:
        return "invalid_argument";
    case errc::unsupported:
        return "unsupported";
    case errc::closed:
        return "closed";
    }
    return "unknown";
}

const char* name_of(pool_errc value)
{
    switch (value) {
    case pool_errc::queue_full:
        return "pool.queue_full";
    case pool_errc::shut_down:
        return "pool.shut_down";
    case pool_errc::memory_exhausted:
        return "pool.memory_exhausted";
    case pool_errc::unknown_model:
        return "pool.unknown_model";
    case pool_errc::duplicate_model:
        return "pool.duplicate_model";
    case pool_errc::load_failed:
        return "pool.load_failed";
    case pool_errc::circuit_open:
        return "pool.circuit_open";
    case pool_errc::deadline_missed:
        return "pool.deadline_missed";
    case pool_errc::worker_lost:
        return "pool.worker_lost";
    }
    return "pool.unknown";
}

const char* name_of(registry_errc value)
{
    switch (value) {
    case registry_errc::unknown_key:
        return "registry.unknown_key";
    case registry_errc::duplicate_key:
        return "registry.duplicate_key";
    case registry_errc::wrong_capability:
        return "registry.wrong_capability";
    case registry_errc::no_pool:
        return "registry.no_pool";
    }
    return "registry.unknown";
}

const char* name_of(hub_errc value)
{
    switch (value) {
    case hub_errc::not_found:
        return "hub.not_found";
    case hub_errc::unavailable:
        return "hub.unavailable";
    case hub_errc::denied:
        return "hub.denied";
    case hub_errc::corrupt:
        return "hub.corrupt";
    case hub_errc::io_failed:
        return "hub.io_failed";
    case hub_errc::no_fetcher:
        return "hub.no_fetcher";
    }
    return "hub.unknown";
}

const char* name_of(model_errc value)
{
    switch (value) {
    case model_errc::failed:
        return "model.failed";
    case model_errc::out_of_memory:
        return "model.out_of_memory";
    case model_errc::device_lost:
        return "model.device_lost";
    case model_errc::bad_file:
        return "model.bad_file";
    case model_errc::bad_config:
        return "model.bad_config";
    case model_errc::missing_tensor:
        return "model.missing_tensor";
    case model_errc::shape_mismatch:
        return "model.shape_mismatch";
    case model_errc::dtype_mismatch:
        return "model.dtype_mismatch";
    case model_errc::unsupported:
        return "model.unsupported";
    case model_errc::context_overflow:
        return "model.context_overflow";
    }
    return "model.unknown";
}

const char* name_of(text_errc value)
{
    switch (value) {
    case text_errc::not_utf8:
        return "text.not_utf8";
    case text_errc::too_long:
        return "text.too_long";
    case text_errc::bad_file:
        return "text.bad_file";
    case text_errc::unsupported:
        return "text.unsupported";
    case text_errc::bad_id:
        return "text.bad_id";
    }
    return "text.unknown";
}

// What the user gave on the command line or in an input file is at fault; a checkpoint that does not load is
// work that failed.
bool is_users_fault(const boost::system::error_code& code)
{
    return code == errc::invalid_argument || code == hub_errc::not_found ||
           code == text_errc::not_utf8 || code == text_errc::too_long ||
           code == text_errc::bad_id || code.category() == registry_category();
}

}  // namespace

std::string code_name(const boost::system::error_code& code)
{
    const boost::system::error_category& category = code.category();
    if (code == boost::asio::error::operation_aborted) return "cancelled";
    if (category == general_category()) return name_of(static_cast<errc>(code.value()));
    if (category == pool_category()) return name_of(static_cast<pool_errc>(code.value()));
    if (category == registry_category()) return name_of(static_cast<registry_errc>(code.value()));
    if (category == hub_category()) return name_of(static_cast<hub_errc>(code.value()));
    if (category == model_category()) return name_of(static_cast<model_errc>(code.value()));
    if (category == text_category()) return name_of(static_cast<text_errc>(code.value()));
    return "system";
}

failure describe(const std::exception_ptr& problem)
{
    try {
        std::rethrow_exception(problem);
    } catch (const usage_error& error) {
        return {status::bad_input, "usage", visible(error.what())};
    } catch (const interrupted& error) {
        return {status::interrupted, "cancelled", error.what()};
    } catch (const boost::system::system_error& error) {
        const bool at_fault = is_users_fault(error.code());
        return {
            at_fault ? status::bad_input : status::failed,
            code_name(error.code()),
            visible(error.what())};
    } catch (const std::system_error& error) {
        return {status::failed, "system", visible(error.what())};
    } catch (const std::bad_alloc&) {
        return {status::failed, "out_of_memory", "not enough memory"};
    } catch (const std::exception& error) {
        return {status::failed, "internal", visible(error.what())};
    }
}

}  // namespace modelpool::cli
