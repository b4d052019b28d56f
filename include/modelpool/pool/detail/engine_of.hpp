#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/capability/vision.hpp>
#include <modelpool/config.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/engine.hpp>

#include <memory>
#include <string>

namespace modelpool::detail {

/// Makes the engine of capability `C`. A capability without one refuses its models when they load.
template <class C>
struct engine_of {
    static std::unique_ptr<engine> make(std::unique_ptr<typename C::model>, const engine_options&)
    {
        throw error{errc::unsupported, std::string{"pools of "} + C::name + " cannot run models"};
    }
};

template <>
struct engine_of<text_to_text> {
    static std::unique_ptr<engine> make(std::unique_ptr<generator> model, engine_options options);
};

template <>
struct engine_of<vision> {
    static std::unique_ptr<engine> make(std::unique_ptr<generator> model, engine_options options);
};

template <>
struct engine_of<text_embedding> {
    static std::unique_ptr<engine> make(std::unique_ptr<embedder> model, engine_options options);
};

template <>
struct engine_of<image_embedding> {
    static std::unique_ptr<engine>
    make(std::unique_ptr<image_embedder> model, engine_options options);
};

template <>
struct engine_of<text_to_image> {
    static std::unique_ptr<engine>
    make(std::unique_ptr<image_generator> model, engine_options options);
};

}  // namespace modelpool::detail

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/detail/impl/engines.hpp>
#endif
