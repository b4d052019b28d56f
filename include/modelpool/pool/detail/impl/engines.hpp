#pragma once

#include <modelpool/pool/detail/embed_engine.hpp>
#include <modelpool/pool/detail/engine_of.hpp>
#include <modelpool/pool/detail/generation_engine.hpp>
#include <modelpool/pool/detail/image_embed_engine.hpp>
#include <modelpool/pool/detail/image_engine.hpp>

#include <utility>

namespace modelpool::detail {

MODELPOOL_DECL std::unique_ptr<engine>
engine_of<text_to_text>::make(std::unique_ptr<generator> model, engine_options options)
{
    return std::make_unique<generation_engine>(std::move(model), std::move(options));
}

MODELPOOL_DECL std::unique_ptr<engine>
engine_of<vision>::make(std::unique_ptr<generator> model, engine_options options)
{
    return std::make_unique<generation_engine>(std::move(model), std::move(options));
}

MODELPOOL_DECL std::unique_ptr<engine>
engine_of<text_embedding>::make(std::unique_ptr<embedder> model, engine_options options)
{
    return std::make_unique<embed_engine>(std::move(model), std::move(options));
}

MODELPOOL_DECL std::unique_ptr<engine>
engine_of<image_embedding>::make(std::unique_ptr<image_embedder> model, engine_options options)
{
    return std::make_unique<image_embed_engine>(std::move(model), std::move(options));
}

MODELPOOL_DECL std::unique_ptr<engine>
engine_of<text_to_image>::make(std::unique_ptr<image_generator> model, engine_options options)
{
    return std::make_unique<image_engine>(std::move(model), std::move(options));
}

}  // namespace modelpool::detail
