#include "torch/errors.hpp"

#include <modelpool/error.hpp>

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

namespace modelpool::nn {
namespace {

std::string first_line(std::string_view text)
{
    return std::string{text.substr(0, text.find('\n'))};
}

// libtorch reports a failed CPU allocation as a plain c10::Error, so only its text tells it apart.
bool is_out_of_memory(std::string_view text)
{
    return text.find("can't allocate memory") != std::string_view::npos ||
           text.find("not enough memory") != std::string_view::npos;
}

}  // namespace

void rethrow_translated(std::string_view what)
{
    const std::string prefix = std::string{what} + ": ";
    try {
        throw;
    } catch (const error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const c10::OutOfMemoryError& problem) {
        throw error{
            model_errc::out_of_memory, prefix + first_line(problem.what_without_backtrace())};
    } catch (const c10::Error& problem) {
        const std::string text = first_line(problem.what_without_backtrace());
        throw error{
            is_out_of_memory(text) ? model_errc::out_of_memory : model_errc::failed, prefix + text};
    } catch (const std::exception& problem) {
        throw error{model_errc::failed, prefix + first_line(problem.what())};
    }
}

}  // namespace modelpool::nn
