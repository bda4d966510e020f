"""Messages of TensorFlow Serving and Triton, from their published descriptors."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.support.paths import ROOT

PROTOS = ROOT / "tests" / "data" / "protos"


def message_class(file, name):
    """Returns the class of a message.

    Args:
        file: Name of a file of descriptors in `PROTOS`.
        name: Full name of the message. The messages of TensorFlow that it contains
            must have been imported.
    """
    pool = descriptor_pool.Default()
    content = (PROTOS / file).read_bytes()
    for described in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.AddSerializedFile(described.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
