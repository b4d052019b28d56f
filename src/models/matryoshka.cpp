#include "models/matryoshka.hpp"

#include <modelpool/error.hpp>

#include <string>
#include <system_error>

#include "support/json.hpp"

namespace modelpool::models {

bool blocking_is_matryoshka(const std::filesystem::path& transformer_dir)
{
    const std::filesystem::path path = transformer_dir / "config.json";
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return false;
    const auto file = support::json_file::blocking_read(path, model_errc::bad_config);
    const auto sizes = file.root().find("matryoshka_dimensions");
    const bool given = sizes != file.root().end() && !sizes->is_null();
    if (given && !sizes->is_array())
        file.fail(
            std::string{"'matryoshka_dimensions' must be an array, found "} + sizes->type_name());
    return file.find_bool("is_matryoshka").value_or(given && !sizes->empty());
}

}  // namespace modelpool::models
