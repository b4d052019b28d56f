#pragma once

// The handles of all capabilities.

#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/embed_handle.hpp>
#include <modelpool/pool/generation_handle.hpp>
#include <modelpool/pool/image_embed_handle.hpp>
#include <modelpool/pool/text_to_image_handle.hpp>
