"""LiteRT copies of Keras models: conversion, and inference in parallel threads."""
