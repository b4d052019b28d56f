#pragma once

// The models: their loaders, the catalogue, inspection of checkpoints. No libtorch in any of it.

#include <modelpool/models/bert.hpp>
#include <modelpool/models/catalogue.hpp>
#include <modelpool/models/clip.hpp>
#include <modelpool/models/generator.hpp>
#include <modelpool/models/gte_qwen2.hpp>
#include <modelpool/models/image_generator.hpp>
#include <modelpool/models/inspect.hpp>
#include <modelpool/models/jina_bert.hpp>
#include <modelpool/models/latents.hpp>
#include <modelpool/models/llava.hpp>
#include <modelpool/models/load_options.hpp>
#include <modelpool/models/nv_embed.hpp>
#include <modelpool/models/stella.hpp>
