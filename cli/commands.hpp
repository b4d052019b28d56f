#pragma once

#include "common.hpp"

#include <CLI/CLI.hpp>

namespace modelpool::cli {

// Each adds one subcommand, which sets `program::run` when it is given.

void add_embed(CLI::App& app, program& self);
void add_embed_image(CLI::App& app, program& self);
void add_generate(CLI::App& app, program& self);
void add_chat(CLI::App& app, program& self);
void add_describe(CLI::App& app, program& self);
void add_imagine(CLI::App& app, program& self);
void add_render(CLI::App& app, program& self);
void add_tokenize(CLI::App& app, program& self);
void add_inspect(CLI::App& app, program& self);
void add_models(CLI::App& app, program& self);
void add_bench(CLI::App& app, program& self);
void add_fetch(CLI::App& app, program& self);
void add_import(CLI::App& app, program& self);
void add_cache(CLI::App& app, program& self);

}  // namespace modelpool::cli
