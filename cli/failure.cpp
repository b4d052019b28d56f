#include "failure.hpp"

#include <modelpool/error.hpp>

#include <new>
#include <system_error>

#include "text_format.hpp"

namespace modelpool::cli {
namespace {

// What the user gave on the command line or in an input file is at fault; a checkpoint that does
// not load is work that failed.
bool is_users_fault(const boost::system::error_code& code)
{
    return code == errc::invalid_argument || code == hub_errc::not_found ||
           code == text_errc::not_utf8 || code == text_errc::too_long ||
           code == text_errc::bad_id || code.category() == registry_category();
}

}  // namespace

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
            std::string{code_name(error.code())},
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
