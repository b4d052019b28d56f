# Installs what was built. The build tree carries the same package file as the install tree, so
# modelpool_DIR may name either.

include(CMakePackageConfigHelpers)

set(modelpool_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/modelpool)
set(modelpool_components core)
set(modelpool_targets modelpool_core modelpool_all)
if(MODELPOOL_WITH_HUB OR MODELPOOL_WITH_TEXT OR MODELPOOL_WITH_IMAGE)
    list(APPEND modelpool_targets modelpool_support)
endif()
if(MODELPOOL_WITH_HUB)
    list(APPEND modelpool_components hub)
    list(APPEND modelpool_targets modelpool_hub)
endif()
if(MODELPOOL_WITH_TEXT)
    list(APPEND modelpool_components text)
    list(APPEND modelpool_targets modelpool_text modelpool_weights modelpool_kernels
        modelpool_generation)
endif()
if(MODELPOOL_WITH_IMAGE)
    list(APPEND modelpool_components image)
    list(APPEND modelpool_targets modelpool_image)
endif()
if(MODELPOOL_WITH_TORCH)
    list(APPEND modelpool_components torch)
    list(APPEND modelpool_targets modelpool_torch)
endif()

install(TARGETS ${modelpool_targets} EXPORT modelpool)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/modelpool DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT modelpool NAMESPACE modelpool:: FILE modelpool-targets.cmake
    DESTINATION ${modelpool_package_dir})
export(EXPORT modelpool NAMESPACE modelpool:: FILE ${PROJECT_BINARY_DIR}/modelpool-targets.cmake)

configure_package_config_file(
    ${PROJECT_SOURCE_DIR}/cmake/modelpool-config.cmake.in
    ${PROJECT_BINARY_DIR}/modelpool-config.cmake
    INSTALL_DESTINATION ${modelpool_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/modelpool-config-version.cmake
    COMPATIBILITY SameMinorVersion)
configure_file(
    ${PROJECT_SOURCE_DIR}/cmake/modelpool_dependencies.cmake
    ${PROJECT_BINARY_DIR}/modelpool_dependencies.cmake COPYONLY)
install(FILES
    ${PROJECT_BINARY_DIR}/modelpool-config.cmake
    ${PROJECT_BINARY_DIR}/modelpool-config-version.cmake
    ${PROJECT_BINARY_DIR}/modelpool_dependencies.cmake
    DESTINATION ${modelpool_package_dir})
