// Classifies an image file with the signature `classify` of a SavedModel, in C.
//
// classify FOLDER INPUT LABELS SCORES VALID FILE..., where INPUT and so on are names of
// operations with the index of their output: "classify_encoded:0". Prints a line per
// file: whether it is valid, its first score and its first label.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static TF_Status* status;

static void check(const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

static TF_Output find(TF_Graph* graph, const char* name) {
  const char* colon = strrchr(name, ':');
  char operation[256];
  snprintf(operation, sizeof operation, "%.*s", (int)(colon - name), name);
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (output.oper == NULL) {
    fprintf(stderr, "The graph has no operation %s\n", operation);
    exit(1);
  }
  return output;
}

static void read_file(const char* path, TF_TString* string) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char* content = malloc(size + 1);
  if (fread(content, 1, size, file) != size) exit(1);
  fclose(file);
  TF_StringInit(string);
  TF_StringCopy(string, content, size);
  free(content);
}

int main(int argc, char** argv) {
  if (argc < 7) return 2;
  status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  check("load");

  int64_t count = argc - 6;
  TF_Tensor* files =
      TF_AllocateTensor(TF_STRING, &count, 1, (size_t)count * sizeof(TF_TString));
  TF_TString* strings = TF_TensorData(files);
  for (int i = 0; i < count; ++i) read_file(argv[6 + i], &strings[i]);

  TF_Output input = find(graph, argv[2]);
  TF_Output outputs[3];
  for (int i = 0; i < 3; ++i) outputs[i] = find(graph, argv[3 + i]);
  TF_Tensor* found[3];
  TF_SessionRun(session, NULL, &input, &files, 1, outputs, found, 3, NULL, 0, NULL,
                status);
  check("run");

  int64_t top = TF_Dim(found[0], 1);
  const TF_TString* labels = TF_TensorData(found[0]);
  const float* scores = TF_TensorData(found[1]);
  const unsigned char* valid = TF_TensorData(found[2]);
  for (int i = 0; i < count; ++i) {
    const TF_TString* label = &labels[i * top];
    printf("%d\t%.6f\t%.*s\n", valid[i], scores[i * top],
           (int)TF_StringGetSize(label), TF_StringGetDataPointer(label));
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  return 0;
}
