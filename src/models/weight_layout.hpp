#pragma once

#include <modelpool/models/load_options.hpp>

#include <cstdint>
#include <string>

#include "decoder/load_watch.hpp"
#include "decoder/quantization.hpp"

namespace modelpool::models {

/// Where the weights of a file of that size are computed on: packed copies as long as they take at
/// most half of the machine's memory.
decoder::weight_layout layout_for(std::uint64_t weight_bytes) noexcept;

/// The same of a safetensors decoder, whose matrices are dense: as stored, or rounded to the blocks
/// that `precision` names. `name` goes into the message.
/// Errors: model_errc::unsupported for a precision that decoders are not computed in.
decoder::weight_layout dense_layout_for(const std::string& name, dtype precision);

/// Throws model_errc::unsupported unless `precision` leaves the weights of a GGUF file as stored.
void check_stored_dtype(const std::string& name, dtype precision);

/// How these options follow and end a load.
decoder::load_watch watch_of(const load_options& options);

}  // namespace modelpool::models
