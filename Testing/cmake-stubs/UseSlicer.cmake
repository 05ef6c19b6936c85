# Slicer's macros for scripted modules, as far as the extension uses them. They take the arguments of Slicer 5.12, refuse
# all others, copy every file into the build tree and install it with its subfolder. Each list of files is written to
# lists/<target>.txt for the tests to read.
include(CTest)

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)

macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(_CTK
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES"
    ${ARGN}
    )
  foreach(_ctk_name TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT _CTK_${_ctk_name})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${_ctk_name} is mandatory")
    endif()
  endforeach()
  if(_CTK_UNPARSED_ARGUMENTS OR NOT _CTK_NO_INSTALL_SUBDIR)
    message(FATAL_ERROR "ctkMacroCompilePythonScript: not in these stubs: ${ARGN}")
  endif()
  add_custom_target(Copy${_CTK_TARGET_NAME}PythonScriptFiles) # fails where the name is not unique, as in CTK
  set(_ctk_list "")
  foreach(_ctk_file ${_CTK_SCRIPTS} ${_CTK_RESOURCES})
    get_filename_component(_ctk_folder ${_ctk_file} DIRECTORY)
    file(COPY ${CMAKE_CURRENT_SOURCE_DIR}/${_ctk_file} DESTINATION ${_CTK_DESTINATION_DIR}/${_ctk_folder})
    install(FILES ${_ctk_file} DESTINATION ${_CTK_INSTALL_DIR}/${_ctk_folder})
    string(APPEND _ctk_list "${_ctk_file}\n")
  endforeach()
  foreach(_ctk_file ${_CTK_SCRIPTS})
    if(NOT _ctk_file MATCHES "\\.py$") # CTK would append the ending
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${_ctk_file} is no script, list it as a resource")
    endif()
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/lists/${_CTK_TARGET_NAME}.txt "${_ctk_list}")
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(_SLICER_UNPARSED_ARGUMENTS OR _SLICER_WITH_SUBDIR OR NOT _SLICER_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: not in these stubs: ${ARGN}")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${_SLICER_NAME}
    SCRIPTS "${_SLICER_SCRIPTS}"
    RESOURCES "${_SLICER_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(_TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(_TEST_UNPARSED_ARGUMENTS OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${_TEST_SCRIPT})
    message(FATAL_ERROR "slicer_add_python_unittest: no such script or argument: ${ARGN}")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/lists/tests.txt "${_TEST_SCRIPT}\n")
endmacro()
